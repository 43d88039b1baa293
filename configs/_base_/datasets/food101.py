# Food-101; the pipelines come from pipelines/.
_base_ = 'cub.py'

train_dataloader = dict(dataset=dict(type='Food101Format', data_root='data/food-101', split='train'))
val_dataloader = dict(dataset=dict(type='Food101Format', data_root='data/food-101', split='test'))
test_dataloader = val_dataloader
