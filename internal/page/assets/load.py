import io, pickle, zipfile
import torch

def load_bundle(directory):
    """Returns ({role: state_dict}, params)."""
    with zipfile.ZipFile(f"{directory}/wts.h5.zip") as z:
        models = pickle.loads(z.read("manifest.dill"))["models"]
        states = {m: torch.load(io.BytesIO(z.read(f"{m}/model.pth")), map_location="cpu", weights_only=True) for m in models}
        params = pickle.loads(z.read(f"{models[0]}/params.dill"))
    return states, params

states, params = load_bundle("artifacts/pairs/run_20251017_104700/00")
