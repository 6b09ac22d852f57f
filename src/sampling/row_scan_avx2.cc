#include "sampling/row_scan.inl"

namespace lorry::sampling {
const RowScan kRowScanAvx2 = {BlockMax, BlockWeight};
}  // namespace lorry::sampling
