"""v7.2, the newest mainline that is specified: the rules in kernel/."""

from zonedev.kernel import Kernel


class Linux72(Kernel):
    """v7.2: a mapping holds a reference; unbind waits for no pin (mainline)."""

    name = "linux-7.2"
    title = "newest mainline"
