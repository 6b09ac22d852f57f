#include "sampling/row_scan.inl"

namespace lorry::sampling {
const RowScan kRowScanAvx512 = {BlockMax, BlockWeight};
}  // namespace lorry::sampling
