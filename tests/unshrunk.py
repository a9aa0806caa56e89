"""A pytest plugin (`-p tests.unshrunk`): an example that fails is reported as it is, not made small first.

For runs that only ask whether a test fails. Settings that modules make for themselves inherit this.
"""

from hypothesis import Phase, settings

settings.register_profile("unshrunk", phases=[Phase.explicit, Phase.generate])
settings.load_profile("unshrunk")
