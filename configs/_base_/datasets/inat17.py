# iNaturalist 2017; the pipelines come from pipelines/.
_base_ = 'cub.py'

train_dataloader = dict(dataset=dict(type='INaturalist2017', data_root='data/inat17', split='train'))
val_dataloader = dict(dataset=dict(type='INaturalist2017', data_root='data/inat17', split='val'))
test_dataloader = val_dataloader

val_evaluator = [*_base_.val_evaluator, dict(type='HierarchicalAccuracy')]
test_evaluator = val_evaluator
