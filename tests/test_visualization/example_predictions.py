"""Predictions to draw."""

import numpy as np

from glsim_mm.visualization import Prediction

TOP = [('Crow', 0.5), ('Gull', 0.3), ('Крачка', 0.1), ('シジュウカラ', 0.06), ('Wren', 0.001)]


def gradient(height: int = 48, width: int = 64) -> np.ndarray:
    """A photo without equal pixels side by side."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 2, columns * 2, rows + columns], axis=-1).astype(np.uint8)


def make_prediction(size: tuple[int, int] = (48, 64), selects: bool = True, **fields) -> Prediction:
    """A prediction of Crow, with box, map and likeliest classes."""
    prediction = Prediction(gradient(*size), 'Crow', 0.5, top=TOP)
    if selects:
        prediction.selected_box, prediction.similarity_map = (4, 4, 14, 14), np.arange(9.0).reshape(3, 3)
    for name, value in fields.items():
        setattr(prediction, name, value)
    return prediction
