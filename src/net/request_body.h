// RequestBody: a body as Beast's parser hands it over. Owns: its bytes. Thread: one. Never: takes
// more memory than twice what has come, whatever the header promised.
#pragma once

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/optional.hpp>
#include <string>

namespace lorry::net {

struct RequestBody {
  struct value_type {
    std::string text;
    bool is_dropped = false;  // what comes is counted against the limit, and not kept
  };

  class reader {
   public:
    template <bool is_request, class Fields>
    reader(boost::beast::http::header<is_request, Fields>&, value_type& body) : body_(body) {}

    void init(const boost::optional<uint64_t>& length, boost::system::error_code& error) {
      error = {};
      if (!body_.is_dropped)
        body_.text.reserve(std::min<uint64_t>(length.value_or(0), kFirstBytes));
    }

    template <class Buffers>
    size_t put(const Buffers& buffers, boost::system::error_code& error) {
      error = {};
      const size_t num_bytes = boost::asio::buffer_size(buffers);
      if (body_.is_dropped) return num_bytes;
      for (const auto piece : boost::beast::buffers_range_ref(buffers)) {
        body_.text.append(static_cast<const char*>(piece.data()), piece.size());
      }
      return num_bytes;
    }

    void finish(boost::system::error_code& error) { error = {}; }

   private:
    static constexpr size_t kFirstBytes = 64 << 10;
    value_type& body_;
  };
};

}  // namespace lorry::net
