"""Deep Q-learning on gymnasium's CartPole: a training loop of one's own, the policy exported and played from the file.

Needs gymnasium (pip install gymnasium). Deliver it: kcompile export models/cartpole_dqn.py --train
"""

import random
import sys
from collections import deque

import gymnasium
import numpy as np

import kcompile
from kcompile import keras
from kcompile.keras import layers

SEED = 1
keras.utils.set_random_seed(SEED)


def network(name):
    return keras.Sequential(
        [
            keras.Input((4,), name="state"),
            layers.Dense(64, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dense(2, name="value"),
        ],
        name=name,
    )


model = network("cartpole_dqn")


class Replay:
    """The last transitions; a batch is drawn from them at random."""

    def __init__(self, size=20_000):
        self.rows = deque(maxlen=size)

    def add(self, *row):
        self.rows.append(row)

    def sample(self, count):
        return (np.array(column, dtype="float32") for column in zip(*random.sample(self.rows, count), strict=True))


def targets(model, slow, batch, discount=0.99):
    """What the network should have said (double Q-learning: chosen by ``model``, valued by ``slow``).

    Rewards are scaled so that values lie between 0 and 1, where the Huber loss is a square. On values as large as
    the returns it would count a fall, rare and wrong by 50, as if it were wrong by 1, and policies get lost again.
    """
    states, actions, rewards, nexts, ends = batch
    rows = np.arange(len(states))
    wanted = model.predict_on_batch(states)
    best = model.predict_on_batch(nexts).argmax(-1)
    later = (1 - ends) * slow.predict_on_batch(nexts)[rows, best]
    wanted[rows, actions.astype(int)] = (1 - discount) * rewards + discount * later
    return states, wanted


def follow(slow, model, share):
    """Move the slow network's weights a share of the way to the other's."""
    slow.set_weights([s + share * (w - s) for s, w in zip(slow.get_weights(), model.get_weights(), strict=True)])


def play(policy, episodes, seed):
    """Returns of whole episodes under a greedy policy."""
    environment = gymnasium.make("CartPole-v1")
    returns = []
    for i in range(episodes):
        state, _ = environment.reset(seed=seed + i)
        total, over = 0.0, False
        while not over:
            state, reward, ended, cut, _ = environment.step(int(policy(state[None].astype("float32"))[0].argmax()))
            total, over = total + reward, ended or cut
        returns.append(total)
    return np.array(returns)


def train(model, most=400, enough=475.0):
    """Play and learn until ten greedy episodes return ``enough`` on average; returns every episode's return.

    The weights of the best check are what is left in the end.
    """
    environment, replay = gymnasium.make("CartPole-v1"), Replay()
    slow = network("slow")
    slow.set_weights(model.get_weights())
    model.compile(keras.optimizers.Adam(1e-3), "huber")
    history, steps, best, kept = [], 0, -1.0, model.get_weights()
    for episode in range(most):
        state, _ = environment.reset(seed=SEED * 10_000 + episode)
        total, over = 0.0, False
        while not over:
            explore = max(0.02, 1 - steps / 4000)
            chosen = random.random() < explore
            action = random.randrange(2) if chosen else int(model.predict_on_batch(state[None])[0].argmax())
            following, reward, ended, cut, _ = environment.step(action)
            # An episode that is cut at its 500th step has not ended: what follows has a value.
            replay.add(state, action, reward, following, float(ended))
            state, over, total, steps = following, ended or cut, total + reward, steps + 1
            if steps >= 500 and steps % 2 == 0:
                model.train_on_batch(*targets(model, slow, replay.sample(64)))
                follow(slow, model, 0.02)
        history.append(total)
        if episode % 20 == 19:
            check = play(model.predict_on_batch, 10, seed=5_000)
            print(f"episode {episode + 1}: mean return {np.mean(history[-20:]):.0f}, greedy {check.mean():.0f}")
            if check.mean() > best:
                best, kept = check.mean(), model.get_weights()
            if best >= enough:
                break
    model.set_weights(kept)
    print(f"mean return over 100 greedy episodes: {play(model.predict_on_batch, 100, seed=90_000).mean():.1f}")
    return history


if __name__ == "__main__":
    train(model)
    path = sys.argv[1] if len(sys.argv) > 1 else "cartpole_dqn.onnx"
    kcompile.export(model, path)
    returns = play(kcompile.load(path), 100, seed=90_000)
    print(f"mean return over 100 episodes played by {path}: {returns.mean():.1f}")
