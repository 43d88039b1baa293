# NABirds split by classes for retrieval, 277 / 278: train on the first half, search among the second.
# Training and test pipelines come from ../pipelines/. There is no published split by classes of this set.
_base_ = '../cub.py'

splits = [dict(type='NABirds', data_root='data/nabirds', split=split) for split in ('train', 'test')]

train_dataloader = dict(dataset=dict(_delete_=True, type='ClassDisjointSplit', half='train', datasets=splits))
val_dataloader = dict(dataset=dict(_delete_=True, type='ClassDisjointSplit', half='test', datasets=splits))
test_dataloader = val_dataloader
