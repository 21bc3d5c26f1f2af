from setuptools import find_packages, setup

setup(
    name="tinygen",
    version="0.1.0",
    description="Generative models from the chain rule up: a small autograd engine and every "
                "branch of the taxonomy, written to be read",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    python_requires=">=3.10",
    packages=find_packages(include=["tinygen", "tinygen.*"]),
    install_requires=["numpy>=2.0", "matplotlib>=3.8"],
    extras_require={
        "test": ["pytest>=8"],
        "mpi": ["mpi4py>=4"],
        "gpu": ["cupy-cuda12x>=13.2"],
        "gpu-cuda13": ["cupy-cuda13x>=13.6"],
    },
)
