// What a request's header says, checked: where it goes, and where its body ends.
// Owns: nothing. Thread: any.
#pragma once

#include <boost/beast/http/message.hpp>
#include <string_view>
#include <tl/expected.hpp>

#include "net/http_server.h"

namespace lorry::net {

// The number of bytes up to the end of the header that `bytes` begins with; 0: the end has not
// come. `num_searched` bytes were without one before.
size_t HeaderEnd(std::string_view bytes, size_t num_searched);

// False: no request begins so, and there is no need to wait for the rest of it.
bool MayBeginRequest(std::string_view bytes);

// The request without its body, id and address; or why it is refused.
tl::expected<HttpRequest, HttpRefusal> ReadHead(const boost::beast::http::request_header<>& header);

}  // namespace lorry::net
