# DAF:re with background (anime); the pipelines come from pipelines/.
_base_ = 'cub.py'

# The authors normalise anime with these (custom_mean_std of github.com/arkel23/GLSim).
data_preprocessor = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])

train_dataloader = dict(dataset=dict(type='DAFB', data_root='data/dafb', split='trainval'))
val_dataloader = dict(dataset=dict(type='DAFB', data_root='data/dafb', split='test'))
test_dataloader = val_dataloader
