# A CSV or Parquet file with a row per image, path,label,split[,box]; the pipelines come from pipelines/.
_base_ = 'cub.py'

train_dataloader = dict(
    dataset=dict(type='TableDataset', data_root='data/products', ann_file='products.csv', split='train')
)
val_dataloader = dict(
    dataset=dict(type='TableDataset', data_root='data/products', ann_file='products.csv', split='val', test_mode=True)
)
test_dataloader = val_dataloader

# Top-5 accuracy would need five classes.
val_evaluator = [dict(type='Accuracy', topk=(1,)), dict(type='ClassDeviation')]
test_evaluator = val_evaluator
