"""Install chromexpress. Everything that can be said as data is said in settings.ini, which nbdev reads too."""
from configparser import ConfigParser
from pathlib import Path
import shutil

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]


class BuildWithNotebooks(build_py):
    "Put the analysis notebooks inside the installed package: `chromexpress run` executes them from there."
    def run(self):
        super().run()
        if self.editable_mode: return                        # a checkout has them in nbs/analysis
        target = Path(self.build_lib) / cfg["lib_name"] / "analysis"
        target.mkdir(parents=True, exist_ok=True)
        for nb in sorted((here / "nbs" / "analysis").glob("*.ipynb")): shutil.copy(nb, target)


setup(
    name=cfg["lib_name"], version=cfg["version"], description=cfg["description"], license="MIT",
    author=cfg["author"], author_email=cfg["author_email"], url=cfg["git_url"], keywords=cfg["keywords"].split(),
    long_description=(here / "README.md").read_text(encoding="utf-8"), long_description_content_type="text/markdown",
    packages=find_packages(include=[cfg["lib_name"], cfg["lib_name"] + ".*"]), include_package_data=True,
    python_requires=">=" + cfg["min_python"], install_requires=cfg["requirements"].split(),
    extras_require={"dev": cfg["dev_requirements"].split(), "ensembl": cfg["ensembl_requirements"].split()},
    entry_points={"console_scripts": cfg["console_scripts"].split(), "nbdev": [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"]},
    classifiers=["Development Status :: 3 - Alpha", "Intended Audience :: Science/Research",
                 "Programming Language :: Python :: 3.11", "Programming Language :: Python :: 3.12"],
    cmdclass={"build_py": BuildWithNotebooks}, zip_safe=False,
)
