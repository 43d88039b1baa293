# FGVC-Aircraft; the pipelines come from pipelines/.
_base_ = 'cub.py'

train_dataloader = dict(dataset=dict(type='FGVCAircraftFormat', data_root='data/fgvc-aircraft-2013b', split='trainval'))
val_dataloader = dict(dataset=dict(type='FGVCAircraftFormat', data_root='data/fgvc-aircraft-2013b', split='test'))
test_dataloader = val_dataloader

val_evaluator = [*_base_.val_evaluator, dict(type='HierarchicalAccuracy')]
test_evaluator = val_evaluator
