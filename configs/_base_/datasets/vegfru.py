# VegFru; the pipelines come from pipelines/.
_base_ = 'cub.py'

train_dataloader = dict(dataset=dict(type='VegFru', data_root='data/vegfru', split='trainval'))
val_dataloader = dict(dataset=dict(type='VegFru', data_root='data/vegfru', split='test'))
test_dataloader = val_dataloader

val_evaluator = [*_base_.val_evaluator, dict(type='HierarchicalAccuracy')]
test_evaluator = val_evaluator
