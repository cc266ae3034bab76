# Installed by the package owner: see docs/install.md.
