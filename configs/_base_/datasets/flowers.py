# Oxford Flowers-102; the pipelines come from pipelines/.
_base_ = 'cub.py'

train_dataloader = dict(dataset=dict(type='Flowers102Format', data_root='data/flowers102', split='trainval'))
val_dataloader = dict(dataset=dict(type='Flowers102Format', data_root='data/flowers102', split='test'))
test_dataloader = val_dataloader
