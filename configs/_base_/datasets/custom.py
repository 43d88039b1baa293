# A folder with train/ and val/, each with one sub-folder of images per class; custom_224.py adds pipelines.
_base_ = 'cub.py'

train_dataloader = dict(
    dataset=dict(_delete_=True, type='FolderDataset', data_root='data/custom', data_prefix='train', with_label=True)
)
val_dataloader = dict(
    dataset=dict(_delete_=True, type='FolderDataset', data_root='data/custom', data_prefix='val', with_label=True)
)
test_dataloader = val_dataloader

# Top-5 accuracy would need five classes.
val_evaluator = [dict(type='Accuracy', topk=(1,)), dict(type='ClassDeviation')]
test_evaluator = val_evaluator
