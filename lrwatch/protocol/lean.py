"""Stand-ins for the parts of `dataclasses` and `typing` that the training process needs, at a twentieth of the import time.

Every trainer pays for the import of the client. `typing` and `dataclasses` (with `inspect`, `ast`, `re` and the code that
they generate for each class) were four fifths of it. Type checkers see the real names, so a class reads and is checked as
a dataclass; at run time the few lines below do the work. They support what is used here and nothing else: frozen
dataclasses without inheritance of fields, default values that are immutable, and `__post_init__`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from dataclasses import asdict as asdict
    from dataclasses import dataclass as dataclass
    from dataclasses import replace as replace
    from typing import Literal as Literal
    from typing import Protocol as Protocol
    from typing import final as final
else:
    from types import GenericAlias

    Protocol = object

    class Literal:
        """A closed list of values: `Literal["a", "b"].__args__` and `typing.get_args` return them."""

        __class_getitem__ = classmethod(GenericAlias)

    def final(cls):
        """Return the class, which is not meant to be subclassed."""
        return cls

    def dataclass(*, frozen):
        """Return a decorator that makes an immutable value class of annotated fields, as `dataclasses.dataclass` does."""
        assert frozen
        return _with_methods

    def replace(instance, /, **changes):
        """Return a copy with some fields changed; its values are checked again."""
        return type(instance)(**{**vars(instance), **changes})

    def asdict(instance):
        """Return the fields as a new dict, in order; their values are not copied."""
        return dict(vars(instance))

    def _with_methods(cls):
        cls.__match_args__ = tuple(cls.__annotations__)
        cls._defaults = {name: getattr(cls, name) for name in cls.__match_args__ if hasattr(cls, name)}
        for name in ("__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__"):
            setattr(cls, name, vars(_Methods)[name])
        return cls

    class _Methods:
        def __init__(self, *values, **named):
            names, fields, call = self.__match_args__, vars(self), f"{type(self).__name__}()"
            if len(values) > len(names):
                raise TypeError(f"{call} takes {len(names)} arguments, found {len(values)}")
            given = dict(zip(names, values, strict=False))
            if given.keys() & named:
                raise TypeError(f"{call} got two values for {sorted(given.keys() & named)}")
            given |= named
            for name in names:
                if name not in given and name not in self._defaults:
                    raise TypeError(f"{call} needs the argument {name!r}")
                fields[name] = given.pop(name) if name in given else self._defaults[name]
            if given:
                raise TypeError(f"{call} has no argument {sorted(given)}")
            if hasattr(self, "__post_init__"):
                self.__post_init__()

        def __repr__(self):
            return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

        def __eq__(self, other):
            return vars(self) == vars(other) if type(self) is type(other) else NotImplemented

        def __hash__(self):
            return hash(tuple(vars(self).values()))

        def __setattr__(self, name, value):
            raise AttributeError(f"{type(self).__name__}.{name} cannot be changed to {value!r}")

        def __delattr__(self, name):
            raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted")
