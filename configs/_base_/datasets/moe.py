# Moe (anime faces); the pipelines come from pipelines/.
_base_ = 'cub.py'

# The authors normalise anime with these (custom_mean_std of github.com/arkel23/GLSim).
data_preprocessor = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])

train_dataloader = dict(dataset=dict(type='Moe', data_root='data/moe', split='trainval'))
val_dataloader = dict(dataset=dict(type='Moe', data_root='data/moe', split='test'))
test_dataloader = val_dataloader
