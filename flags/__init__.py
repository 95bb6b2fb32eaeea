"""Flag definitions that commands share, and the presets (`*.flags`). Only commands import this."""
