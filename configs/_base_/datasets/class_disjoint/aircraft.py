# FGVC-Aircraft split by classes for retrieval, 50 / 50: train on the first half, search among the second.
# Training and test pipelines come from ../pipelines/.
_base_ = '../cub.py'

splits = [
    dict(type='FGVCAircraftFormat', data_root='data/fgvc-aircraft-2013b', split=split) for split in ('trainval', 'test')
]

train_dataloader = dict(dataset=dict(_delete_=True, type='ClassDisjointSplit', half='train', datasets=splits))
val_dataloader = dict(dataset=dict(_delete_=True, type='ClassDisjointSplit', half='test', datasets=splits))
test_dataloader = val_dataloader
