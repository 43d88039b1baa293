"""FaissRetriever gives what mmpretrain's retriever gives, with mmpretrain's metrics, hook and inferencer."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
from fresh_processes import run_ranks
from mmengine.config import Config
from mmengine.dataset import DefaultSampler, default_collate
from mmpretrain import ImageRetrievalInferencer
from mmpretrain.datasets import BaseDataset
from mmpretrain.evaluation import RetrievalAveragePrecision, RetrievalRecall
from mmpretrain.models import ImageToImageRetriever
from mmpretrain.registry import DATASETS, MODELS
from mmpretrain.structures import DataSample
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from glsim_mm.compat.old_calls import restore_in1d
from glsim_mm.errors import GLSimError
from glsim_mm.models import FaissRetriever, GLSimClassifier
from glsim_mm.models.retrievers.prototypes import VectorPrototype
from glsim_mm.models.utils import hash_weights
from retrieval.errors import RetrievalError
from retrieval.gallery import Fingerprint, create_gallery

NUM_IMAGES, NUM_QUERIES, WIDTH = 13, 7, 16


@DATASETS.register_module(force=True)
class NoiseImages(BaseDataset):
    """Images of noise, in five classes."""

    def __init__(self, count: int = NUM_IMAGES, seed: int = 0, pipeline: tuple = (dict(type='PackInputs'),)) -> None:
        self.count, self.seed = count, seed
        super().__init__('', pipeline=pipeline)

    def load_data_list(self) -> list[dict]:
        generator = np.random.default_rng(self.seed)
        images = generator.integers(0, 256, (self.count, 8, 8, 3), dtype=np.uint8)
        return [dict(img=image, gt_label=index % 5) for index, image in enumerate(images)]


def make_encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, WIDTH, 4, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def make_retriever(kind: str = 'FaissRetriever', prototype=None, encoder=None, **options):
    prototype = (
        dict(batch_size=4, num_workers=0, dataset=dict(type='mmpretrain.NoiseImages'))
        if prototype is None
        else prototype
    )
    if isinstance(prototype, dict) and kind == 'ImageToImageRetriever':
        prototype = dict(prototype, sampler=dict(type='DefaultSampler', shuffle=False), persistent_workers=False)
    settings = dict(data_preprocessor=dict(mean=[128.0] * 3, std=[64.0] * 3), **options)
    return MODELS.build(
        dict(type=kind, image_encoder=encoder or make_encoder(), prototype=prototype, **settings)
    ).eval()


@pytest.fixture
def queries() -> tuple[torch.Tensor, list[DataSample]]:
    generator = torch.Generator().manual_seed(1)
    labels = [torch.randperm(NUM_IMAGES, generator=generator)[: 1 + i % 3] for i in range(NUM_QUERIES)]
    images = torch.randn(NUM_QUERIES, 3, 8, 8, generator=generator)
    return images, [DataSample().set_gt_label(rows) for rows in labels]


@pytest.mark.parametrize('topk', [-1, 4, 100])
@pytest.mark.parametrize('full', [True, False])
def test_predictions_are_those_of_mmpretrain(queries, topk, full):
    if topk == -1 and not full:
        topk = NUM_IMAGES
    theirs = make_retriever('ImageToImageRetriever', topk=topk).predict(*queries)
    expected = [(sample.pred_label, sample.pred_score) for sample in theirs]
    metrics = evaluate(theirs)
    samples = make_retriever(topk=topk, full_scores=full).predict(queries[0], new_samples(queries[1]))
    for sample, (labels, scores) in zip(samples, expected, strict=True):
        assert sample.pred_label.tolist() == labels.tolist() and sample.pred_label.dtype == labels.dtype
        known = torch.ones_like(scores, dtype=torch.bool) if full else torch.isin(torch.arange(NUM_IMAGES), labels)
        torch.testing.assert_close(sample.pred_score[known], scores[known])
        assert (sample.pred_score[~known] == -torch.inf).all()
    assert evaluate(samples) == metrics


def new_samples(samples: list[DataSample]) -> list[DataSample]:
    return [DataSample().set_gt_label(sample.gt_label) for sample in samples]


def evaluate(samples: list[DataSample]) -> dict:
    """By mmpretrain's metrics, which look at the first 4."""
    restore_in1d()
    values = {}
    for metric in (RetrievalRecall(topk=(1, 4)), RetrievalAveragePrecision(topk=4)):
        metric.process(None, [sample.to_dict() for sample in samples])
        values.update(metric.evaluate(len(samples)))
    return values


def test_new_samples_are_made_where_none_are_given(queries):
    samples = make_retriever(topk=2).predict(queries[0])
    assert len(samples) == NUM_QUERIES and samples[0].pred_label.shape == (2,)


@pytest.mark.parametrize('similarity', ['cosine_similarity', 'ip', 'l2'])
def test_similarities(queries, similarity):
    retriever = make_retriever(similarity_fn=similarity)
    gallery, features = retriever.prototype_vecs.double(), retriever.extract_feat(queries[0]).double()
    expected = dict(
        cosine_similarity=nn.functional.normalize(features) @ nn.functional.normalize(gallery).T,
        ip=features @ gallery.T,
        l2=-torch.cdist(features, gallery).square(),
    )[similarity]
    result = retriever.matching(features.float())
    torch.testing.assert_close(result['score'].double(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(result['pred_label'], expected.argsort(dim=1, descending=True))
    torch.testing.assert_close(retriever.similarity_fn(features.float(), gallery.float()), result['score'])


def loader_of(dataset) -> DataLoader:
    sampler = DefaultSampler(dataset, shuffle=True, seed=0)
    return DataLoader(dataset, batch_size=5, sampler=sampler, collate_fn=default_collate)


@pytest.mark.slow
@pytest.mark.parametrize(
    'prototype',
    [
        lambda: dict(dataset=dict(type='NoiseImages'), batch_size=3, num_workers=0, persistent_workers=True),
        lambda: dict(type='NoiseImages'),
        NoiseImages,
        lambda: loader_of(NoiseImages()),
    ],
    ids=['loader config', 'data set config', 'data set', 'shuffled loader'],
)
def test_sources_of_a_gallery(prototype):
    expected = make_retriever('ImageToImageRetriever')
    expected.prepare_prototype()
    found = make_retriever(prototype=prototype()).prototype_vecs
    torch.testing.assert_close(found, nn.functional.normalize(expected.prototype_vecs))


def test_saved_prototypes_are_exchanged_with_mmpretrain(queries, tmp_path):
    ours, theirs = make_retriever(), make_retriever('ImageToImageRetriever')
    expected = [sample.pred_label.tolist() for sample in ours.predict(queries[0])]
    ours.dump_prototype(tmp_path / 'ours.pth')
    theirs.dump_prototype(tmp_path / 'theirs.pth')
    np.save(tmp_path / 'ours.npy', ours.prototype_vecs.numpy())
    for reader, name in (
        ('ImageToImageRetriever', 'ours.pth'),
        ('FaissRetriever', 'theirs.pth'),
        ('FaissRetriever', 'ours.npy'),
    ):
        samples = make_retriever(reader, str(tmp_path / name)).predict(queries[0])
        assert [sample.pred_label.tolist() for sample in samples] == expected
    tensor = make_retriever(prototype=theirs.prototype_vecs).predict(queries[0])
    assert [sample.pred_label.tolist() for sample in tensor] == expected


@pytest.fixture
def on_disk(tmp_path) -> str:
    """A gallery with ids that are no rows, some of them removed."""
    vectors = make_retriever().prototype_vecs.numpy()
    with create_gallery(tmp_path / 'gallery', {'aggregated': WIDTH, 'flipped': WIDTH}) as gallery:
        ids = 100 - 3 * np.arange(NUM_IMAGES)
        gallery.add({'aggregated': vectors, 'flipped': -vectors}, ids=ids)
        gallery.add({'aggregated': -vectors[:2], 'flipped': vectors[:2]}, ids=[7, 5000])
        gallery.remove([7, 5000])
    return str(tmp_path / 'gallery')


def test_a_gallery_on_disk(queries, on_disk):
    """Its rows are its images by ascending id, here the reverse of the order in memory."""
    expected = make_retriever(topk=4).predict(queries[0])
    for full in (True, False):
        retriever = make_retriever(prototype=on_disk, topk=4, full_scores=full)
        for sample, known in zip(retriever.predict(queries[0]), expected, strict=True):
            assert sample.gallery_ids.tolist() == (100 - 3 * known.pred_label).tolist()
            assert sample.pred_label.tolist() == (NUM_IMAGES - 1 - known.pred_label).tolist()
            best = sample.pred_score[sample.pred_label]
            torch.testing.assert_close(best, known.pred_score[known.pred_label])
            assert int(torch.isfinite(sample.pred_score).sum()) == (NUM_IMAGES if full else 4)
    torch.testing.assert_close(retriever.prototype_vecs.flip(0), make_retriever().prototype_vecs)
    flipped = make_retriever(prototype=on_disk, space='flipped').predict(queries[0])
    assert flipped[0].pred_label[-1] == NUM_IMAGES - 1 - expected[0].pred_label[0]


def test_galleries_that_do_not_fit(on_disk, tmp_path):
    with pytest.raises(GLSimError, match="set similarity_fn='cosine'"):
        make_retriever(prototype=on_disk, similarity_fn='l2').prepare_prototype()
    create_gallery(tmp_path / 'empty', WIDTH).close()
    with pytest.raises(GLSimError, match='has no images'):
        make_retriever(prototype=str(tmp_path / 'empty')).prepare_prototype()


class ShortGallery(VectorPrototype):
    """Finds three rows at most, as a server may."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores, rows = super().search(queries, k)
        scores[:, 3:], rows[:, 3:] = -np.inf, -1
        return scores, rows


def test_a_gallery_that_does_not_rank_every_image(queries):
    retrievers = [make_retriever(topk=-1), make_retriever(topk=4, full_scores=False)]
    for retriever in retrievers:
        retriever.prepare_prototype()
        retriever.gallery = ShortGallery(retriever.prototype_vecs.numpy(), 'cosine')
    with pytest.raises(GLSimError, match='does not score every image'):
        retrievers[0].predict(queries[0])
    samples = retrievers[1].predict(queries[0])
    assert samples[0].pred_label[-1] == -1 and int(torch.isfinite(samples[0].pred_score).sum()) == 3


def test_an_approximate_search(queries):
    """Of 3,000 vectors in 64 lists, some of which are searched; most of the best are found."""
    vectors = torch.randn(3000, WIDTH, generator=torch.Generator().manual_seed(0))
    exact = make_retriever(prototype=vectors, topk=5).predict(queries[0])
    found = make_retriever(prototype=vectors, topk=5, full_scores=False, preset='IVF64,Flat').predict(queries[0])
    shared = [len({*a.pred_label.tolist()} & {*b.pred_label.tolist()}) for a, b in zip(found, exact, strict=True)]
    assert sum(shared) >= NUM_QUERIES


class _Code:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple:
        return eval, ('1 / 0',)


def test_files_that_are_no_prototype(tmp_path):
    torch.save(_Code(), tmp_path / 'code.pth')
    (tmp_path / 'text.pth').write_text('hello')
    torch.save(dict(a=torch.ones(2, 2)), tmp_path / 'dict.pth')
    (tmp_path / 'text.npy').write_text('hello')
    messages = {'code.pth': 'asks to run code', 'text.pth': 'is damaged', 'no.pth': 'does not exist'}
    for name, message in {**messages, 'dict.pth': 'holds a dict', 'text.npy': 'cannot be read'}.items():
        with pytest.raises(GLSimError, match=message):
            make_retriever(prototype=str(tmp_path / name)).prepare_prototype()


def test_another_width_is_told(queries):
    with pytest.raises(RetrievalError, match='have 16 columns, the index 5'):
        make_retriever(prototype=torch.ones(3, 5)).predict(queries[0])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(similarity_fn=torch.cdist), 'similarity_fn must be one of'),
        (dict(topk=0), 'topk=0'),
        (dict(topk=-1, full_scores=False), 'full_scores=True'),
        (dict(preset='ivf-flat'), "preset='ivf-flat' does not score the whole gallery"),
    ],
)
def test_mistakes_of_a_config(options, message):
    with pytest.raises(GLSimError, match=message):
        make_retriever(**options)


def test_an_incomplete_gallery_is_an_error():
    dataset = NoiseImages()
    loader = DataLoader(dataset, batch_size=5, sampler=range(10), collate_fn=default_collate)
    with pytest.raises(GLSimError, match='3 of 13 gallery images were not encoded'):
        make_retriever(prototype=loader).prepare_prototype()
    no_rows = NoiseImages(pipeline=[dict(type='PackInputs', meta_keys=())])
    with pytest.raises(GLSimError, match='sample_idx=None'):
        make_retriever(prototype=no_rows).prepare_prototype()


def test_the_encoder_is_left_in_its_mode():
    retriever = make_retriever().train()
    retriever.image_encoder[1].eval()
    retriever.prepare_prototype()
    assert retriever.training and retriever.image_encoder[0].training and not retriever.image_encoder[1].training


@pytest.fixture
def classifier() -> GLSimClassifier:
    torch.manual_seed(0)
    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)
    loss = dict(type='MetricLearningLoss', name='ArcFaceLoss', scale=16)
    return MODELS.build(
        dict(
            type='GLSimClassifier',
            backbone=dict(type='GLSimViT', img_size=8, patch_size=2, arch=arch),
            neck=dict(type='GLSimSelector', top_o=2),
            head=dict(type='EmbeddingHead', num_classes=5, in_channels=16, embedding_dims=6, loss=loss),
        )
    )


def test_glsim_encodes_by_its_aggregated_token(queries, classifier):
    retriever = make_retriever(encoder=classifier, topk=3)
    samples = retriever.predict(*queries)
    expected = classifier.extract_feat(queries[0], stage='pre_logits')
    torch.testing.assert_close(retriever.extract_feat(queries[0]), expected)
    torch.testing.assert_close(samples[2].pred_score, expected[2] @ retriever.prototype_vecs.T)
    explained = classifier.predict(queries[0])
    for field in ('selected_box', 'similarity_map'):
        torch.testing.assert_close(samples[2].get(field), explained[2].get(field))


def test_a_gallery_of_another_model_is_refused(queries, classifier, tmp_path):
    fingerprint = Fingerprint(hash_weights(classifier), '', '', 'ours')
    vectors = make_retriever(encoder=classifier).prototype_vecs.numpy()
    with create_gallery(tmp_path / 'ours', vectors.shape[1], fingerprint=fingerprint) as gallery:
        gallery.add(vectors)
    retriever = make_retriever(encoder=classifier, prototype=str(tmp_path / 'ours'))
    assert len(retriever.predict(*queries)) == NUM_QUERIES
    samples = [DataSample().set_gt_label(index % 5) for index in range(NUM_QUERIES)]
    retriever.train().loss(queries[0], samples)['loss'].backward()
    with torch.no_grad():
        classifier.head.projection.bias += 1
    with pytest.raises(GLSimError, match=r'a model with other weights \(ours\)'):
        retriever.eval().predict(*queries)


def test_training_makes_the_gallery_stale(queries, classifier):
    retriever = make_retriever(encoder=classifier).train()
    before = retriever.prototype_vecs
    samples = [DataSample().set_gt_label(index % 5) for index in range(NUM_QUERIES)]
    torch.manual_seed(0)
    expected = classifier.loss(queries[0], samples)['loss']
    torch.manual_seed(0)
    loss = retriever.loss(queries[0], samples)['loss']
    assert loss == expected
    loss.backward()
    with torch.no_grad():
        for parameter in retriever.parameters():
            parameter -= 0.1 * parameter.grad
    assert (retriever.eval().prototype_vecs - before).abs().max() > 1e-3
    fixed = make_retriever(encoder=classifier, prototype=torch.ones(3, 6))
    fixed.prepare_prototype()
    fixed.loss(queries[0], samples)
    assert fixed.prototype_inited


def test_a_head_of_the_retriever_trains_any_encoder(queries):
    head = dict(type='ArcFaceClsHead', num_classes=5, in_channels=WIDTH)
    samples = [DataSample().set_gt_label(index % 5) for index in range(NUM_QUERIES)]
    torch.manual_seed(0)
    ours = make_retriever(head=head)
    theirs = make_retriever('ImageToImageRetriever', head=head)
    theirs.load_state_dict(ours.state_dict())
    features = (make_encoder()(queries[0]),)
    assert ours.loss(queries[0], samples)['loss'] == theirs.head.loss(features, samples)['loss']
    with pytest.raises(GLSimError, match='has no head to train'):
        make_retriever().loss(queries[0], samples)


def test_inferencer_of_mmpretrain(tmp_path):
    """Nearest photos of a folder for a photo of it: itself first."""
    generator, paths = np.random.default_rng(0), []
    for index in range(4):
        paths.append(str(tmp_path / f'{index}.png'))
        Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(paths[-1])
    results = {}
    for kind in ('FaissRetriever', 'ImageToImageRetriever'):
        model = make_retriever(kind, topk=3)
        pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
        model._config = _inference_config(pipeline)
        cache = str(tmp_path / f'{kind}.pth')
        inferencer = ImageRetrievalInferencer(model, prototype=list(paths), prototype_cache=cache, device='cpu')
        results[kind] = inferencer(paths, topk=2)
        again = ImageRetrievalInferencer(model, prototype=list(paths), prototype_cache=cache, device='cpu')
        assert _rows(again(paths, topk=2)) == _rows(results[kind])
    ours, theirs = results.values()
    for index, (found, expected) in enumerate(zip(ours, theirs, strict=True)):
        assert _rows([found]) == _rows([expected])
        assert found[0]['sample']['img_path'] == paths[index]
        assert float(found[0]['match_score']) == pytest.approx(float(expected[0]['match_score']), abs=1e-6)


def _rows(results: list[list[dict]]) -> list[list[int]]:
    return [[match['sample_idx'] for match in matches] for matches in results]


def _inference_config(pipeline: list[dict]) -> Config:
    return Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))


def _encode(rank: int, folder: str) -> None:
    """One of two processes; 13 images are 7 each, one of them twice."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    retriever = make_retriever(similarity_fn='ip')
    retriever.prepare_prototype()
    retriever.dump_prototype(f'{folder}/written.pth')
    torch.save(retriever.prototype_vecs, f'{folder}/rank{rank}.pth')
    theirs = make_retriever('ImageToImageRetriever')
    theirs.prepare_prototype()
    torch.save(theirs.prototype_vecs, f'{folder}/theirs{rank}.pth')
    short = make_retriever(prototype=dict(dataset=dict(type='NoiseImages', count=1), sampler=_share()))
    torch.save(short.prototype_vecs, f'{folder}/short{rank}.pth')
    dist.destroy_process_group()


def _share() -> dict:
    """Without an image for the second process."""
    return dict(type='DefaultSampler', shuffle=False, round_up=False)


@pytest.mark.slow
def test_two_processes_make_the_gallery_of_one(tmp_path):
    run_ranks(_encode, str(tmp_path))
    files = {path.stem: torch.load(path, weights_only=True) for path in tmp_path.glob('*.pth')}
    expected = make_retriever(similarity_fn='ip').prototype_vecs
    for name in ('rank0', 'rank1', 'written'):
        torch.testing.assert_close(files[name], expected)
    torch.testing.assert_close(files['short0'], nn.functional.normalize(expected[:1]))
    torch.testing.assert_close(files['short1'], files['short0'])
    # mmpretrain's has twice the image that both encode; should this fail, the comment in encoding.py is out of date
    torch.testing.assert_close(files['theirs0'][0], 2 * expected[0])
    torch.testing.assert_close(files['theirs0'][1:], expected[1:])


def test_it_is_a_retriever_of_mmpretrain():
    assert issubclass(FaissRetriever, ImageToImageRetriever)
