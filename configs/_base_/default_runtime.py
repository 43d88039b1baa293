# What every run needs besides model, data and schedule.
default_scope = 'mmpretrain'
custom_imports = dict(imports=['glsim_mm'], allow_failed_imports=False)

default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='WholeCheckpointHook', interval=1, max_keep_ckpts=3, save_best='auto'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='PredictionPictureHook', enable=False),
    selection_panel=dict(type='SelectionPanelHook', enable=False),  # panels of validation images while training
)
custom_hooks = [
    dict(type='CheckpointGuardHook'),
    dict(type='NumClassesCheckHook'),
    dict(type='ResumeHook'),  # a resumed run takes its settings from the config, and says what has changed
    dict(type='NonFiniteLossHook', interval=50),
    dict(type='UnreadableImageHook'),
    dict(type='KeepEmbeddingsHook'),  # does something where RetrievalMetrics measures
    dict(type='EpochSeedHook'),  # a resumed run draws the random numbers of an uninterrupted one
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
log_level = 'INFO'

load_from = None
resume = False
find_unused_parameters = False  # for distributed training; True if a model of your own leaves weights out of its loss
randomness = dict(seed=0, deterministic=False)
