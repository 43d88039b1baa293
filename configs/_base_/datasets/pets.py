# Oxford-IIIT Pets; the pipelines come from pipelines/.
_base_ = 'cub.py'

train_dataloader = dict(dataset=dict(type='OxfordPetsFormat', data_root='data/oxford-iiit-pet', split='trainval'))
val_dataloader = dict(dataset=dict(type='OxfordPetsFormat', data_root='data/oxford-iiit-pet', split='test'))
test_dataloader = val_dataloader

val_evaluator = [*_base_.val_evaluator, dict(type='HierarchicalAccuracy')]
test_evaluator = val_evaluator
