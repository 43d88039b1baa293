# Stanford Cars split by classes for retrieval, 98 / 98: train on the first half, search among the second.
# Training and test pipelines come from ../pipelines/.
_base_ = '../cub.py'

splits = [dict(type='StanfordCarsFormat', data_root='data/stanford_cars', split=split) for split in ('train', 'test')]

train_dataloader = dict(dataset=dict(_delete_=True, type='ClassDisjointSplit', half='train', datasets=splits))
val_dataloader = dict(dataset=dict(_delete_=True, type='ClassDisjointSplit', half='test', datasets=splits))
test_dataloader = val_dataloader
