// Where each projection's outputs lie. Projections that read the same input are one packed matrix,
// so a layer has four products: q|k|v side by side, o, gate and up interleaved panel by panel
// (their product needs both), down.
#pragma once

#include "formats/base_modules.h"
#include "kernels/packed_matrix.h"
#include "model/model_spec.h"

namespace lorry::model {

enum class LinearGroup { kQkv, kO, kGateUp, kDown };
inline constexpr int kNumLinearGroups = 4;

struct PanelRange {
  LinearGroup group;
  int panel_begin =
      0;  // output i of the projection is in panel panel_begin + (i / 16) * panel_step, lane i % 16
  int panel_step = 1;
};

inline PanelRange PanelsOf(const ModelSpec& spec, formats::Projection projection) {
  using formats::Projection;
  const int q_panels = kernels::NumPanels(spec.OutFeatures(Projection::kQ));
  const int k_panels = kernels::NumPanels(spec.OutFeatures(Projection::kK));
  switch (projection) {
    case Projection::kQ:
      return {LinearGroup::kQkv, 0, 1};
    case Projection::kK:
      return {LinearGroup::kQkv, q_panels, 1};
    case Projection::kV:
      return {LinearGroup::kQkv, q_panels + k_panels, 1};
    case Projection::kO:
      return {LinearGroup::kO, 0, 1};
    case Projection::kGate:
      return {LinearGroup::kGateUp, 0, 2};
    case Projection::kUp:
      return {LinearGroup::kGateUp, 1, 2};
    case Projection::kDown:
      return {LinearGroup::kDown, 0, 1};
  }
  return {LinearGroup::kQkv, 0, 1};
}

inline int NumPanelsOf(const ModelSpec& spec, LinearGroup group) {
  using formats::Projection;
  const auto panels = [&](Projection p) { return kernels::NumPanels(spec.OutFeatures(p)); };
  switch (group) {
    case LinearGroup::kQkv:
      return panels(Projection::kQ) + 2 * panels(Projection::kK);
    case LinearGroup::kO:
      return panels(Projection::kO);
    case LinearGroup::kGateUp:
      return 2 * panels(Projection::kGate);
    case LinearGroup::kDown:
      return panels(Projection::kDown);
  }
  return 0;
}

}  // namespace lorry::model
