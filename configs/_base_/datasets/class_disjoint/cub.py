# CUB-200-2011 split by classes for retrieval, 100 / 100: train on the first half, search among the second.
# Training and test pipelines come from ../pipelines/.
_base_ = '../cub.py'

splits = [dict(type='CUBFormat', data_root='data/CUB_200_2011', split=split) for split in ('train', 'test')]

train_dataloader = dict(dataset=dict(_delete_=True, type='ClassDisjointSplit', half='train', datasets=splits))
val_dataloader = dict(dataset=dict(_delete_=True, type='ClassDisjointSplit', half='test', datasets=splits))
test_dataloader = val_dataloader
