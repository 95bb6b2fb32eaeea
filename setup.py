"""Package definition; ranges are those that the tests ran with (BUILD_NOTES.md, "Versions")."""

from setuptools import find_packages, setup

setup(
    name="nas_tf",
    version="0.1.0",
    description="From a dataset and a phone's latency table to an int8 .tflite within budget",
    packages=find_packages(include=["nas_tf*", "quant*", "export*", "flags*"]),
    package_data={"flags": ["*.flags"], "export": ["*.txt"]},
    entry_points={"console_scripts": ["nas-tf = nas_tf.__main__:main"]},
    python_requires=">=3.10,<3.14",
    install_requires=[
        "absl-py>=1.2,<2",
        "ai-edge-litert>=2.1,<3",
        "flatbuffers>=24,<27",
        "importlib_resources>=6",  # needed by parts of tensorflow-datasets that do not list it
        "matplotlib>=3.8,<4",
        "numpy>=1.26,<3",
        "Pillow>=10,<14",
        "PyYAML>=6,<7",
        "scikit-learn>=1.4,<2",
        "scipy>=1.11,<2",
        "tensorboard>=2.20,<2.22",
        "tensorflow>=2.21,<2.22",
        "tensorflow-datasets>=4.9.9,<4.10",
        "tensorflow-model-optimization>=0.8.1,<0.9",
        "tf_keras>=2.21,<2.22",
        "threadpoolctl>=3.2,<4",
        "tqdm>=4.66,<5",
    ],
    extras_require={
        # Of benchmarks.quantization_loss alone. It pins ai-edge-litert to one version.
        "peers": ["ai-edge-quantizer>=0.10,<0.11"],
        "test": ["hypothesis>=6.100,<7", "pytest>=8,<10", "pytest-xdist>=3.5,<4"],
        "lint": ["mypy>=1.11,<3", "ruff>=0.9,<1", "types-PyYAML>=6"],
    },
)
