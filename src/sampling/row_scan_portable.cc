#include "sampling/row_scan.inl"

namespace lorry::sampling {
const RowScan kRowScanPortable = {BlockMax, BlockWeight};
}  // namespace lorry::sampling
