#include "sampling/row_scan.h"

#include "kernels/isa.h"

namespace lorry::sampling {

const RowScan& SelectedRowScan() {
  switch (kernels::SelectedIsa()) {
    case kernels::Isa::kAvx512Bf16:
      return kRowScanAvx512;
    case kernels::Isa::kAvx2:
      return kRowScanAvx2;
    default:
      return kRowScanPortable;
  }
}

}  // namespace lorry::sampling
