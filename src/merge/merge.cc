#include "merge/merge.h"

#include <filesystem>

#include "base/check.h"
#include "formats/checkpoint_writer.h"
#include "formats/output_file.h"
#include "formats/tensor_view.h"
#include "merge/adapter_output.h"
#include "merge/card.h"
#include "merge/model_output.h"
#include "merge/output_directory.h"

namespace lorry::merge {

Result<MergeOutput> DescribeOutput(const MergePlan& plan) {
  const MergeOptions& options = plan.options();
  MergeOutput output;
  ASSIGN_OR_RETURN(output.text, TextOfMerged(options));
  if (options.as_adapter) {
    ASSIGN_OR_RETURN(output.tensors, AdapterTensors(plan));
  } else {
    ASSIGN_OR_RETURN(output.tensors, ModelTensors(plan));
    ASSIGN_OR_RETURN(output.copied_files, FilesBesideWeights(options.base_dir));
    std::erase_if(output.copied_files, [&text = output.text](const std::string& name) {
      return text.files.contains(name) || text.left_out.contains(name);
    });
    ASSIGN_OR_RETURN(const auto writer,
                     formats::CheckpointWriter::Create(
                         options.output_dir, output.tensors,
                         {.max_shard_bytes = options.max_shard_bytes, .file = {}}));
    output.num_files = writer.num_shards();
  }
  for (const formats::TensorSpec& tensor : output.tensors) {
    const auto bytes = formats::ShapeBytes(tensor.shape, tensor.dtype);
    CHECK(bytes);  // it lies in a file already, or is smaller than what does
    output.weight_bytes += *bytes;
  }
  return output;
}

Status Merge(const MergePlan& plan, const OnProgress& on_progress) {
  ASSIGN_OR_RETURN(const MergeOutput output, DescribeOutput(plan));
  ASSIGN_OR_RETURN(OutputDirectory directory,
                   OutputDirectory::Create(plan.options().output_dir, output.weight_bytes));
  const std::string& dir = directory.partial_path();
  if (plan.options().as_adapter) {
    RETURN_IF_ERROR(WriteAdapter(plan, output, dir, on_progress));
  } else {
    RETURN_IF_ERROR(WriteModelWeights(plan, output, dir, on_progress));
    RETURN_IF_ERROR(WriteModelFiles(plan, output, dir));
  }
  for (const auto& [name, text] : output.text.files) {
    const std::filesystem::path path = std::filesystem::path(dir) / name;
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);  // else writing says why
    RETURN_IF_ERROR(formats::WriteTextFile(path, text, true));
  }
  RETURN_IF_ERROR(formats::WriteTextFile(dir + "/README.md", CardText(plan), true));
  return directory.Publish();
}

}  // namespace lorry::merge
