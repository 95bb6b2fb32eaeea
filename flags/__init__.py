"""Flag definitions that commands share, and the presets (`*.flags`). Only commands import this."""

# By which nas_tf knows this package from others of its name (nas_tf/base/neighbours.py).
PART_OF = "nas_tf"
