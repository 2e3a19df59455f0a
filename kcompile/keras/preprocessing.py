"""`keras.preprocessing`: the older places of functions of `keras.utils`."""

from kcompile.keras.imagefiles import array_to_img, img_to_array, load_img, save_img
from kcompile.keras.submodules import submodule
from kcompile.keras.utils.datasets import timeseries_dataset_from_array
from kcompile.keras.utils.sequences import pad_sequences

sequence = submodule(f"{__name__}.sequence", "Padded sequences.", pad_sequences=pad_sequences)
image = submodule(
    f"{__name__}.image",
    "Image files and arrays.",
    array_to_img=array_to_img,
    img_to_array=img_to_array,
    load_img=load_img,
    save_img=save_img,
)

__all__ = ["image", "sequence", "timeseries_dataset_from_array"]
