// For tests: archives made by libarchive's writer, or byte by byte where no writer would do it.
// Owns: nothing. Thread: one test.
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lorry::formats {

struct TestEntry {
  std::string path;
  std::string content;
  unsigned type = AE_IFREG;
  std::string link = {};            // a hard link if type is AE_IFREG
  int64_t hole_before_content = 0;  // bytes; written as a sparse file
};

enum class TestFormat { kTar, kTarGz, kZip, kZipStored };

inline std::string FormatName(TestFormat format) {
  constexpr const char* kNames[] = {"Tar", "TarGz", "Zip", "ZipStored"};
  return kNames[static_cast<int>(format)];
}

inline void AddEntry(::archive* out, const TestEntry& entry) {
  ::archive_entry* e = ::archive_entry_new();
  ::archive_entry_set_pathname(e, entry.path.c_str());
  ::archive_entry_set_filetype(e, entry.type);
  ::archive_entry_set_perm(e, 0644);
  ::archive_entry_set_mtime(e, 0, 0);
  const auto content_bytes = static_cast<int64_t>(entry.content.size());
  const int64_t bytes = entry.hole_before_content + content_bytes;
  ::archive_entry_set_size(e, entry.type == AE_IFREG && entry.link.empty() ? bytes : 0);
  if (entry.type == AE_IFLNK) ::archive_entry_set_symlink(e, entry.link.c_str());
  if (entry.type == AE_IFREG && !entry.link.empty()) {
    ::archive_entry_set_hardlink(e, entry.link.c_str());
  }
  if (entry.hole_before_content > 0) {
    ::archive_entry_sparse_add_entry(e, entry.hole_before_content, content_bytes);
  }
  ASSERT_EQ(::archive_write_header(out, e), ARCHIVE_OK) << ::archive_error_string(out);
  if (entry.hole_before_content > 0) {
    const std::string zeros(1 << 20, '\0');
    for (int64_t left = entry.hole_before_content; left > 0;) {
      left -= ::archive_write_data(
          out, zeros.data(),
          static_cast<size_t>(std::min<int64_t>(left, static_cast<int64_t>(zeros.size()))));
    }
  }
  ::archive_write_data(out, entry.content.data(), entry.content.size());
  ::archive_entry_free(e);
}

inline void MakeArchive(const std::string& path, TestFormat format,
                        const std::vector<TestEntry>& entries) {
  ::archive* out = ::archive_write_new();
  if (format == TestFormat::kTar || format == TestFormat::kTarGz) {
    ::archive_write_set_format_pax_restricted(out);
    if (format == TestFormat::kTarGz) ::archive_write_add_filter_gzip(out);
  } else {
    ::archive_write_set_format_zip(out);
    if (format == TestFormat::kZipStored) ::archive_write_zip_set_compression_store(out);
  }
  ASSERT_EQ(::archive_write_open_filename(out, path.c_str()), ARCHIVE_OK);
  for (const TestEntry& entry : entries) AddEntry(out, entry);
  ASSERT_EQ(::archive_write_close(out), ARCHIVE_OK);
  ::archive_write_free(out);
}

// One deflated piece; `window_bits` as zlib has them (negative: no frame). A piece that is not the
// last ends at a byte, so that pieces can follow each other.
inline std::string Deflate(std::string_view data, int window_bits, bool last = true) {
  z_stream zlib{};
  EXPECT_EQ(::deflateInit2(&zlib, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(::deflateBound(&zlib, data.size()) + 64, '\0');
  zlib.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  zlib.avail_in = static_cast<uInt>(data.size());
  zlib.next_out = reinterpret_cast<Bytef*>(out.data());
  zlib.avail_out = static_cast<uInt>(out.size());
  EXPECT_GE(::deflate(&zlib, last ? Z_FINISH : Z_FULL_FLUSH), Z_OK);
  out.resize(out.size() - zlib.avail_out);
  ::deflateEnd(&zlib);
  return out;
}

inline std::string Gzip(std::string_view data) { return Deflate(data, 15 + 16); }

// The 512 bytes before a file of a tar that claims this size.
inline std::string TarHeader(std::string_view name, uint64_t size_bytes) {
  std::string header(512, '\0');
  header.replace(0, name.size(), name);
  header.replace(100, 7, "0000644");
  if (size_bytes < (uint64_t{1} << 33)) {
    char octal[12];
    std::snprintf(octal, sizeof(octal), "%011llo", static_cast<unsigned long long>(size_bytes));
    header.replace(124, 11, octal);
  } else {  // GNU's form for large sizes: binary, big-endian, the top bit set
    header[124] = static_cast<char>(0x80);
    for (int i = 0; i < 8; ++i) header[135 - i] = static_cast<char>(size_bytes >> (8 * i));
  }
  header[156] = '0';
  header.replace(257, 8, "ustar  \0", 8);
  header.replace(148, 8, 8, ' ');
  unsigned sum = 0;
  for (char c : header) sum += static_cast<unsigned char>(c);
  char octal[8];
  std::snprintf(octal, sizeof(octal), "%06o", sum);
  header.replace(148, 7, octal, 7);
  return header;
}

inline void AppendNumber(std::string* out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) {
    out->push_back(i < 8 ? static_cast<char>(value >> (8 * i)) : '\0');
  }
}

// A zip with one deflated file that says of itself what it is told to.
inline std::string RawZip(std::string_view name, std::string_view deflated, uint32_t claimed_bytes,
                          uint32_t crc, uint16_t flags = 0) {
  const auto fields = [&](std::string* out) {  // what both headers have in common
    AppendNumber(out, 20, 2);
    AppendNumber(out, flags, 2);
    AppendNumber(out, 8, 2);
    AppendNumber(out, 0, 4);
    AppendNumber(out, crc, 4);
    AppendNumber(out, deflated.size(), 4);
    AppendNumber(out, claimed_bytes, 4);
    AppendNumber(out, name.size(), 2);
    AppendNumber(out, 0, 2);
  };
  std::string zip = "PK\3\4";
  fields(&zip);
  zip.append(name).append(deflated);
  const size_t directory = zip.size();
  zip += std::string("PK\1\2\x14\3", 6);
  fields(&zip);
  AppendNumber(&zip, 0, 6);
  AppendNumber(&zip, 0100644u << 16, 4);
  AppendNumber(&zip, 0, 4);
  zip.append(name);
  const size_t directory_bytes = zip.size() - directory;
  zip += "PK\5\6";
  AppendNumber(&zip, 0, 4);
  AppendNumber(&zip, 1, 2);
  AppendNumber(&zip, 1, 2);
  AppendNumber(&zip, directory_bytes, 4);
  AppendNumber(&zip, directory, 4);
  AppendNumber(&zip, 0, 2);
  return zip;
}

}  // namespace lorry::formats
