"""Mixed precision on CPU."""

import torch

from glsim_mm.engine import CPUAmpOptimWrapper


def build() -> tuple[torch.nn.Linear, CPUAmpOptimWrapper]:
    model = torch.nn.Linear(4, 2)
    return model, CPUAmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))


def test_forward_runs_in_bfloat16_and_weights_stay_float32():
    model, wrapper = build()
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        output = model(torch.ones(3, 4))
    assert output.dtype == torch.bfloat16
    wrapper.update_params(output.float().square().mean())
    assert model.weight.dtype == torch.float32
    assert not torch.equal(model.weight, before)


def test_state_of_a_run_on_gpu_is_loaded():
    model, wrapper = build()
    wrapper.update_params(model(torch.ones(3, 4)).square().mean())
    state = dict(wrapper.state_dict(), loss_scaler=dict(scale=65536.0))
    _, other = build()
    other.load_state_dict(state)
    assert other.optimizer.state_dict()['state'][0]['momentum_buffer'].shape == (2, 4)
    assert 'loss_scaler' in state  # the caller's dict is left as it was
