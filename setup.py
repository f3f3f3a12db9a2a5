from setuptools import find_packages, setup

setup(
    # A plain path entry: an editable install as an import finder would hide twisted/plugins/,
    # because twisted.plugin scans the directories of sys.path.
    package_dir={"": "."},
    # find_packages cannot see twisted/plugins: it has no __init__.py, and must never get one.
    packages=[*find_packages(include=["autopilot", "autopilot.*"]), "twisted.plugins"],
)
