"""Writing models as files that run without their code; :mod:`glsim_mm.exported` runs them."""

from .exporter import ExportReport, export_gallery_model, export_model, format_report

__all__ = ['ExportReport', 'export_gallery_model', 'export_model', 'format_report']
