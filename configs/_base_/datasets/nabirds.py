# NABirds; the pipelines come from pipelines/.
_base_ = 'cub.py'

train_dataloader = dict(dataset=dict(type='NABirds', data_root='data/nabirds', split='train'))
val_dataloader = dict(dataset=dict(type='NABirds', data_root='data/nabirds', split='test'))
test_dataloader = val_dataloader

val_evaluator = [*_base_.val_evaluator, dict(type='HierarchicalAccuracy')]
test_evaluator = val_evaluator
