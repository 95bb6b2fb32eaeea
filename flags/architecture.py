"""The flag that names one architecture."""

from flags import paths

ARCHITECTURE = paths.DEFINE_path(
    "architecture",
    None,
    "An architecture: a JSON file, a published name (mobilenet_v2, proxyless_mobile, "
    "proxyless_mobile_14, proxyless_gpu, proxyless_cpu) or a short string "
    "('s32x2 1_3c16 3_5c24x2 … h1280').",
)
