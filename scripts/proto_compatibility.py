"""Says how an API (a FileDescriptorSet) breaks the clients of an older one. Needs nothing but Python.

A field may go where its number and its name are reserved: an old peer then reads the default, and no new field takes its place.
"""


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _fields(data):
    """{field number: [values]} of one message in protobuf's wire format; numbers as int, the rest as bytes."""
    found, at = {}, 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
        else:
            if kind == 2:
                size, at = _varint(data, at)
            else:
                size = {1: 8, 5: 4}[kind]
            value, at = data[at:at + size], at + size
        found.setdefault(key >> 3, []).append(value)
    return found


def _text(message, number):
    return message[number][0].decode() if number in message else ""


def _number(message, number):
    return message.get(number, [0])[0]


def _add_enum(api, prefix, enum):
    name = f"{prefix}.{_text(enum, 1)}"
    for value in map(_fields, enum.get(2, [])):
        api[f"{name} value {_number(value, 2)}"] = _text(value, 1)


def _add_message(api, prefix, message):
    name = f"{prefix}.{_text(message, 1)}"
    reserved = tuple((_number(span, 1), _number(span, 2)) for span in map(_fields, message.get(9, [])))  # [start, end)
    api[f"message {name}"] = reserved, frozenset(word.decode() for word in message.get(10, []))
    for field in map(_fields, message.get(2, [])):
        # Name (JSON clients), label, type and type's name; a proto3 optional or a oneof is the same on the wire.
        api[f"{name} field {_number(field, 3)}"] = (_text(field, 1), _number(field, 4), _number(field, 5), _text(field, 6))
    for nested in map(_fields, message.get(3, [])):
        _add_message(api, name, nested)
    for enum in map(_fields, message.get(4, [])):
        _add_enum(api, name, enum)


def describe(descriptor_set):
    """{what a client may rely on: what it is} of a serialised FileDescriptorSet."""
    api = {}
    for file in map(_fields, _fields(descriptor_set).get(1, [])):
        package = _text(file, 2)
        for message in map(_fields, file.get(4, [])):
            _add_message(api, package, message)
        for enum in map(_fields, file.get(5, [])):
            _add_enum(api, package, enum)
        for service in map(_fields, file.get(6, [])):
            for method in map(_fields, service.get(2, [])):
                api[f"rpc {package}.{_text(service, 1)}.{_text(method, 1)}"] = (
                    _text(method, 2), _text(method, 3), _number(method, 5), _number(method, 6))
    return api


def _is_reserved(api, what, was):
    """Whether `what`, a field that was there, may be gone."""
    message, _, number = what.partition(" field ")
    spans, names = api.get(f"message {message}", ((), ()))
    return bool(number) and was[0] in names and any(start <= int(number) < end for start, end in spans)


def incompatibilities(released, current):
    """Sentences, one for each thing of `released` that `current` lacks or has otherwise; both are FileDescriptorSets."""
    now = describe(current)
    found = []
    for what, was in describe(released).items():
        if what not in now:
            if not _is_reserved(now, what, was):
                found.append(f"{what} was released and is gone")
        elif what.startswith("message "):
            continue  # what is reserved may grow
        elif now[what] != was:
            found.append(f"{what} was released as {was} and is now {now[what]}")
    return found
