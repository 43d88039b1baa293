"""Mistakes in a config are explained; bugs are not hidden."""

import pytest
from mmengine.registry import Registry

from glsim_mm.apis.config_errors import explain_config_errors
from glsim_mm.errors import GLSimError

THINGS = Registry('thing', scope='test_config_errors')


@THINGS.register_module()
class Inner:
    def __init__(self, size: int, colour: str = 'red') -> None:
        self.size = size


@THINGS.register_module()
class Outer(Inner):
    """Hands its arguments on."""

    def __init__(self, inner: dict | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.inner = THINGS.build(inner) if inner else None


@THINGS.register_module()
class Buggy:
    """Has bugs that look like mistakes in a config."""

    def __init__(self, bug: str) -> None:
        if bug == 'call':
            Inner(1, color='blue')
        if bug == 'call in a function':
            self.paint(1)
        if bug == 'key':
            dict(a=1)['b']
        if bug == 'file':
            open('nowhere')

    def paint(self, size: int) -> Inner:
        return Inner(size, bug='x')


def build(**cfg: object) -> object:
    with explain_config_errors():
        return THINGS.build(cfg)


@pytest.mark.parametrize(
    'cfg, expected',
    [
        (dict(type='Inner', size=1, color='blue'), "Inner has no field 'color' (did you mean 'colour'?)"),
        (dict(type='Outer', size=1, color='blue'), "Outer has no field 'color' (did you mean 'colour'?)"),
        (dict(type='Outer', size=1, inner=dict(type='Inner', sise=1)), "Inner has no field 'sise'"),
        (dict(type='Inner'), "Inner needs the field 'size'"),
        (dict(type='Iner', size=1), "there is no thing of type 'Iner'"),
        (dict(type='Outer', size=1, inner=dict(type='Iner')), "there is no thing of type 'Iner'"),
    ],
)
def test_mistakes(cfg, expected):
    with pytest.raises(GLSimError) as error:
        build(**cfg)
    assert expected in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'bug, expected',
    [('call', TypeError), ('call in a function', TypeError), ('key', KeyError), ('file', FileNotFoundError)],
)
def test_bugs_pass(bug, expected):
    with pytest.raises(expected):
        build(type='Buggy', bug=bug)


def test_other_errors_pass():
    with pytest.raises(TypeError), explain_config_errors():
        len(3)
    with pytest.raises(ZeroDivisionError), explain_config_errors():
        raise ZeroDivisionError
