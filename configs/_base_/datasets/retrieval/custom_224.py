# Images of your own at 224 px, train/ and val/ with a sub-folder per class each. Each image of val/ is searched among
# the others of val/, so its classes may be others than those of train/.
_base_ = '../custom_224.py'

train_dataloader = dict(batch_size=64)

val_evaluator = [dict(type='RetrievalMetrics', ks=(1, 2, 4, 8))]
test_evaluator = val_evaluator
