"""Puts the experiments into wheels, as dct_jax/experiments/; pyproject.toml says all else."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithExperiments(build_py):
    """Experiments lie beside the package in a checkout, where people read and copy them."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "dct_jax" / "experiments"
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted(Path("experiments").glob("*.py")):
            self.copy_file(str(file), str(target / file.name), preserve_mode=False)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        experiments = [str(Path(self.build_lib) / "dct_jax" / file) for file in Path("experiments").glob("*.py")]
        return super().get_outputs(include_bytecode) + experiments


setup(cmdclass={"build_py": BuildWithExperiments})
