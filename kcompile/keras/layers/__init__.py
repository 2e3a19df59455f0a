"""`keras.layers`."""

from __future__ import annotations

from typing import Any

from kcompile.keras.layers.activation import ELU, LeakyReLU, PReLU, ReLU, Softmax
from kcompile.keras.layers.adaptive_pooling import (
    AdaptiveAveragePooling1D,
    AdaptiveAveragePooling2D,
    AdaptiveAveragePooling3D,
    AdaptiveMaxPooling1D,
    AdaptiveMaxPooling2D,
    AdaptiveMaxPooling3D,
)
from kcompile.keras.layers.attention import GroupedQueryAttention, GroupQueryAttention, MultiHeadAttention
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.conv_lstm import ConvLSTM1D, ConvLSTM2D, ConvLSTM3D
from kcompile.keras.layers.convolutional import (
    Conv1D,
    Conv1DTranspose,
    Conv2D,
    Conv2DTranspose,
    Conv3D,
    Conv3DTranspose,
    Convolution1D,
    Convolution1DTranspose,
    Convolution2D,
    Convolution2DTranspose,
    Convolution3D,
    Convolution3DTranspose,
    DepthwiseConv1D,
    DepthwiseConv2D,
)
from kcompile.keras.layers.core import Activation, Dense, Embedding, Identity, Lambda
from kcompile.keras.layers.dot import Dot, dot
from kcompile.keras.layers.dot_attention import AdditiveAttention, Attention
from kcompile.keras.layers.einsum import EinsumDense
from kcompile.keras.layers.image_colour import (
    AutoContrast,
    Equalization,
    RandomBrightness,
    RandomColorDegeneration,
    RandomContrast,
    RandomGrayscale,
    RandomHue,
    RandomInvert,
    RandomPosterization,
    RandomSaturation,
    Solarization,
)
from kcompile.keras.layers.image_crop import CenterCrop, RandomCrop, RandomFlip, Resizing
from kcompile.keras.layers.image_effects import RandomErasing, RandomGaussianBlur, RandomSharpness
from kcompile.keras.layers.image_geometry import (
    RandomPerspective,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
)
from kcompile.keras.layers.image_mixing import CutMix, MixUp
from kcompile.keras.layers.image_policies import AugMix, Pipeline, RandAugment, RandomColorJitter
from kcompile.keras.layers.input_layer import Input, InputLayer
from kcompile.keras.layers.merging import (
    Add,
    Average,
    Concatenate,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    maximum,
    minimum,
    multiply,
    subtract,
)
from kcompile.keras.layers.noise import (
    ActivityRegularization,
    AlphaDropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)
from kcompile.keras.layers.normalization import BatchNormalization, LayerNormalization
from kcompile.keras.layers.normalization_more import GroupNormalization, RMSNormalization, UnitNormalization
from kcompile.keras.layers.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    AvgPool1D,
    AvgPool2D,
    AvgPool3D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalAvgPool3D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    GlobalMaxPool3D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    GlobalMaxPooling3D,
    MaxPool1D,
    MaxPool2D,
    MaxPool3D,
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
)
from kcompile.keras.layers.preprocessing import CategoryEncoding, Discretization, Masking, Normalization, Rescaling
from kcompile.keras.layers.recurrent import GRU, LSTM, RNN, SimpleRNN
from kcompile.keras.layers.regularization import Dropout
from kcompile.keras.layers.reshaping import Flatten, Reshape
from kcompile.keras.layers.resizing import (
    Cropping1D,
    Cropping2D,
    Cropping3D,
    Permute,
    RepeatVector,
    UpSampling1D,
    UpSampling2D,
    UpSampling3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from kcompile.keras.layers.reversible_embedding import ReversibleEmbedding
from kcompile.keras.layers.rnn_cells import GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells
from kcompile.keras.layers.separable import (
    SeparableConv1D,
    SeparableConv2D,
    SeparableConvolution1D,
    SeparableConvolution2D,
)
from kcompile.keras.layers.signature import InputSpec
from kcompile.keras.layers.spectral_normalization import SpectralNormalization
from kcompile.keras.layers.wrappers import Bidirectional, TimeDistributed, Wrapper
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object

# What a file may name: `keras.layers` and the class's name.
CLASSES: tuple[type[Layer], ...] = (
    Activation, ActivityRegularization, AdaptiveAveragePooling1D, AdaptiveAveragePooling2D, AdaptiveAveragePooling3D,
    AdaptiveMaxPooling1D, AdaptiveMaxPooling2D, AdaptiveMaxPooling3D, Add, AdditiveAttention, AlphaDropout, Attention,
    AugMix, AutoContrast, Average, AveragePooling1D, AveragePooling2D, AveragePooling3D, BatchNormalization,
    Bidirectional, CategoryEncoding, CenterCrop, Concatenate, Conv1D, Conv1DTranspose, Conv2D, Conv2DTranspose, Conv3D,
    Conv3DTranspose, ConvLSTM1D, ConvLSTM2D, ConvLSTM3D, Cropping1D, Cropping2D, Cropping3D, CutMix, Dense,
    DepthwiseConv1D, DepthwiseConv2D, Discretization, Dot, Dropout, ELU, EinsumDense, Embedding, Equalization, Flatten,
    GRU, GRUCell, GaussianDropout, GaussianNoise, GlobalAveragePooling1D, GlobalAveragePooling2D,
    GlobalAveragePooling3D, GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D, GroupNormalization,
    GroupedQueryAttention, Identity, InputLayer, LSTM, LSTMCell, Lambda, LayerNormalization, LeakyReLU, Masking,
    MaxPooling1D, MaxPooling2D, MaxPooling3D, Maximum, Minimum, MixUp, MultiHeadAttention, Multiply, Normalization,
    PReLU, Permute, Pipeline, RMSNormalization, RNN, RandAugment, RandomBrightness, RandomColorDegeneration,
    RandomColorJitter, RandomContrast, RandomCrop, RandomErasing, RandomFlip, RandomGaussianBlur, RandomGrayscale,
    RandomHue, RandomInvert, RandomPerspective, RandomPosterization, RandomRotation, RandomSaturation, RandomSharpness,
    RandomShear, RandomTranslation, RandomZoom, ReLU, RepeatVector, Rescaling, Reshape, Resizing, ReversibleEmbedding,
    SeparableConv1D, SeparableConv2D, SimpleRNN, SimpleRNNCell, Softmax, Solarization, SpatialDropout1D,
    SpatialDropout2D, SpatialDropout3D, SpectralNormalization, StackedRNNCells, Subtract, TimeDistributed,
    UnitNormalization, UpSampling1D, UpSampling2D, UpSampling3D, ZeroPadding1D, ZeroPadding2D, ZeroPadding3D,
)  # fmt: skip


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The layer of a config."""
    return deserialize_keras_object(config, custom_objects)


def serialize(layer: Layer) -> dict[str, Any]:
    """The config of a layer."""
    return serialize_keras_object(layer)


_LOOKUPS = frozenset({"HashedCrossing", "Hashing", "IntegerLookup", "StringLookup", "TextVectorization"})


def __getattr__(name: str) -> Any:
    """Layers of Keras's that look text or ids up, which no graph holds: the error says what to do."""
    hint = "; map text and ids to integers before the model" if name in _LOOKUPS else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
