# iNaturalist 2017 split by classes for retrieval, 2,544 / 2,545: train on the first half, search among the second.
# Training and test pipelines come from ../pipelines/. There is no published split by classes of this set.
_base_ = '../cub.py'

splits = [dict(type='INaturalist2017', data_root='data/inat17', split=split) for split in ('train', 'val')]

train_dataloader = dict(dataset=dict(_delete_=True, type='ClassDisjointSplit', half='train', datasets=splits))
val_dataloader = dict(dataset=dict(_delete_=True, type='ClassDisjointSplit', half='test', datasets=splits))
test_dataloader = val_dataloader
