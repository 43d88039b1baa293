"""A rendered data set for trying things out: look-alike fish told apart by one small mark."""

from .marks import MARKS
from .scene import Scene, render_scene
from .writer import DemoSettings, render_demo

__all__ = ['MARKS', 'DemoSettings', 'Scene', 'render_demo', 'render_scene']
