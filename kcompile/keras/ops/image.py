"""`keras.ops.image`: functions on images [N, H, W, C], [H, W, C] or the same with channels first."""

from kcompile.keras.ops.image_colour import hsv_to_rgb, rgb_to_grayscale, rgb_to_hsv
from kcompile.keras.ops.image_filters import gaussian_blur, sobel_edges, ssim
from kcompile.keras.ops.image_sampling import (
    affine_transform,
    elastic_transform,
    map_coordinates,
    perspective_transform,
)
from kcompile.keras.ops.image_size import (
    crop_images,
    extract_patches,
    extract_patches_3d,
    pad_images,
    resize,
    scale_and_translate,
)

__all__ = [
    "affine_transform", "crop_images", "elastic_transform", "extract_patches", "extract_patches_3d", "gaussian_blur",
    "hsv_to_rgb", "map_coordinates", "pad_images", "perspective_transform", "resize", "rgb_to_grayscale",
    "rgb_to_hsv", "scale_and_translate", "sobel_edges", "ssim",
]  # fmt: skip
