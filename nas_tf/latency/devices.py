"""Which device a configuration means."""

from nas_tf.latency.host import HostConfig, HostDevice
from nas_tf.latency.phone import AdbConfig, Phone
from nas_tf.latency.timing import Device

DeviceConfig = HostConfig | AdbConfig
BACKENDS = ("host", "adb")


def open_device(config: DeviceConfig) -> Device:
    """The device of this configuration, ready to time models.

    Raises:
      UserError: it is not there or cannot be used.
    """
    return Phone(config) if isinstance(config, AdbConfig) else HostDevice(config)
