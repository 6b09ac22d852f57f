// How many values a JSON text holds, counted before it is read: two bytes of text become tens of
// bytes of tree. Owns: what is left of the limit. Thread: one. Never: reads values, or says whether
// the text is JSON.
#pragma once

#include <cstddef>
#include <string_view>

namespace lorry::api::openai {

// What the texts of one request may hold together.
class JsonValues {
 public:
  explicit JsonValues(size_t max_count) : max_count_(max_count) {}

  // Counts the values of `text`: lists, objects and what is in them, keys aside; an empty list or
  // object counts as two. False: with them there are more than may be, and the rest is not looked
  // at.
  bool Take(std::string_view text);

  size_t max_count() const { return max_count_; }

  // Of a text that was one too many: the key of the outermost object under which the limit was
  // reached; empty when it is not a plain name.
  std::string_view last_field() const { return last_field_; }

 private:
  const size_t max_count_;
  size_t count_ = 0;
  std::string_view last_field_;
};

}  // namespace lorry::api::openai
