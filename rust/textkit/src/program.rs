//! A template compiled for the engine, with each instruction that may copy, compare, nest or keep more
//! than a few bytes replaced by a call that knows its limits.

use crate::meter::{over_limit, refused};
use crate::{data, operators as op, Kind};
use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt};
use minijinja::machinery::{
    make_string_output, parse, CodeGenerator, Instruction, Instructions, Vm, WhitespaceConfig,
};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, Value};
use std::collections::{BTreeMap, BTreeSet};

const NAME: &str = "chat_template";

/// Operators one after the other, or in each other. The engine's compiler takes time by the square.
const MAX_EXPRESSION_DEPTH: usize = 256;

/// What constants multiplied in a template (`"=" * 80`) make, all together; the compiler computes them.
const MAX_REPEATED: usize = 64 << 10;

pub struct Program {
    // Borrows from `source`, so it has to be dropped first.
    code: Instructions<'static>,
    texts: Texts,
    _source: Box<str>,
}

impl Program {
    /// Needs a stack for an expression as long as the source.
    pub fn new(source: String) -> Result<Self, Error> {
        let source = source.into_boxed_str();
        // SAFETY: the text is on the heap, never changes, and is freed after all that borrows from it.
        let text: &'static str = unsafe { &*std::ptr::from_ref::<str>(&source) };
        let white_space = WhitespaceConfig {
            keep_trailing_newline: false,
            lstrip_blocks: true,
            trim_blocks: true,
        };
        let statement = parse(text, NAME, SyntaxConfig::default(), white_space)?;
        Check { repeated: 0 }.statement(&statement)?;
        let mut generator = CodeGenerator::new(NAME, text);
        generator.compile_stmt(&statement);
        let code = generator.finish().0;
        Ok(Self { texts: Texts::of(&code), code: limited(&code, text)?, _source: source })
    }

    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    pub fn run(&self, environment: &Environment, root: Value) -> Result<String, Error> {
        let mut text = String::new();
        let mut out = make_string_output(&mut text);
        let vm = Vm::new(environment);
        vm.eval(&self.code, root, &BTreeMap::new(), &mut out, AutoEscape::None)?;
        Ok(text)
    }
}

/// The texts that a template itself has: what it writes, compares with, and looks for in objects.
#[derive(Default)]
pub struct Texts {
    written: String,
    words: BTreeSet<String>,
}

impl Texts {
    fn of(code: &Instructions) -> Self {
        let mut texts = Self::default();
        for instruction in (0..).map_while(|pc| code.get(pc)) {
            match instruction {
                Instruction::EmitRaw(text) => texts.add_written(text),
                Instruction::GetAttr(name) | Instruction::SetAttr(name) => {
                    texts.words.insert((*name).to_string());
                }
                Instruction::LoadConst(value) => texts.add(value),
                _ => {}
            }
        }
        texts
    }

    fn add_written(&mut self, text: &str) {
        self.written.push_str(text);
        self.written.push('\0'); // no token goes on behind it
    }

    fn add(&mut self, value: &Value) {
        if let Some(text) = value.as_str() {
            self.words.insert(text.to_string());
            self.add_written(text);
            return;
        }
        let Ok(items) = value.try_iter() else { return };
        for item in items {
            if let Ok(member) = value.get_item(&item) {
                self.add(&member); // of a map, whose items are its keys
            }
            self.add(&item);
        }
    }

    /// All that it may write, one after the other.
    pub fn written(&self) -> &str {
        &self.written
    }

    pub fn has_word(&self, text: &str) -> bool {
        self.words.contains(text)
    }
}

/// Refuses what would make the compiler itself run for long.
struct Check {
    repeated: usize,
}

impl Check {
    fn statements(&mut self, statements: &[Stmt]) -> Result<(), Error> {
        statements.iter().try_for_each(|statement| self.statement(statement))
    }

    fn statement(&mut self, statement: &Stmt) -> Result<(), Error> {
        match statement {
            Stmt::Template(s) => self.statements(&s.children),
            Stmt::EmitExpr(s) => self.expression(&s.expr, 0),
            Stmt::ForLoop(s) => {
                self.expressions([&s.target, &s.iter].into_iter().chain(&s.filter_expr), 0)?;
                self.statements(&s.body)?;
                self.statements(&s.else_body)
            }
            Stmt::IfCond(s) => {
                self.expression(&s.expr, 0)?;
                self.statements(&s.true_body)?;
                self.statements(&s.false_body)
            }
            Stmt::WithBlock(s) => {
                self.expressions(s.assignments.iter().flat_map(|(to, from)| [to, from]), 0)?;
                self.statements(&s.body)
            }
            Stmt::Set(s) => self.expressions([&s.target, &s.expr], 0),
            Stmt::SetBlock(s) => {
                self.expressions([&s.target].into_iter().chain(&s.filter), 0)?;
                self.statements(&s.body)
            }
            Stmt::FilterBlock(s) => {
                self.expression(&s.filter, 0)?;
                self.statements(&s.body)
            }
            Stmt::Macro(s) => {
                self.expressions(s.args.iter().chain(&s.defaults), 0)?;
                self.statements(&s.body)
            }
            Stmt::CallBlock(s) => {
                self.expression(&s.call.expr, 0)?;
                self.arguments(&s.call.args, 0)?;
                self.expressions(s.macro_decl.args.iter().chain(&s.macro_decl.defaults), 0)?;
                self.statements(&s.macro_decl.body)
            }
            Stmt::Do(s) => {
                self.expression(&s.call.expr, 0)?;
                self.arguments(&s.call.args, 0)
            }
            Stmt::EmitRaw(_) | Stmt::Continue(_) | Stmt::Break(_) => Ok(()),
            Stmt::AutoEscape(_) => {
                Err(refused(Kind::Invalid, "autoescape is not supported in a chat template"))
            }
            Stmt::Block(_)
            | Stmt::Extends(_)
            | Stmt::Include(_)
            | Stmt::Import(_)
            | Stmt::FromImport(_) => {
                Err(refused(Kind::Invalid, "a chat template has no other templates, and no blocks"))
            }
        }
    }

    fn expressions<'a, 's: 'a>(
        &mut self,
        expressions: impl IntoIterator<Item = &'a Expr<'s>>,
        depth: usize,
    ) -> Result<(), Error> {
        expressions.into_iter().try_for_each(|expression| self.expression(expression, depth))
    }

    fn arguments(&mut self, arguments: &[CallArg], depth: usize) -> Result<(), Error> {
        arguments.iter().try_for_each(|argument| match argument {
            CallArg::Pos(e) | CallArg::Kwarg(_, e) => self.expression(e, depth),
            CallArg::PosSplat(_) | CallArg::KwargSplat(_) => Err(refused(
                Kind::Invalid,
                "*args and **kwargs are not supported in a chat template",
            )),
        })
    }

    fn expression(&mut self, expression: &Expr, depth: usize) -> Result<(), Error> {
        if depth > MAX_EXPRESSION_DEPTH {
            return Err(over_limit(format!(
                "an expression of the chat template has over {MAX_EXPRESSION_DEPTH} levels"
            )));
        }
        let depth = depth + 1;
        match expression {
            Expr::Var(_) | Expr::Const(_) => Ok(()),
            Expr::Slice(e) => {
                let parts = [&e.start, &e.stop, &e.step].into_iter().flatten();
                self.expressions([&e.expr].into_iter().chain(parts), depth)
            }
            Expr::UnaryOp(e) => self.expression(&e.expr, depth),
            Expr::BinOp(e) => {
                self.expressions([&e.left, &e.right], depth)?;
                match e.op {
                    BinOpKind::Mul => self.repeat(&e.left, &e.right),
                    _ => Ok(()),
                }
            }
            Expr::Compare(e) => {
                let others = e.ops.iter().map(|op| &op.expr);
                self.expressions([&e.expr].into_iter().chain(others), depth)
            }
            Expr::IfExpr(e) => {
                let parts = [&e.test_expr, &e.true_expr].into_iter().chain(&e.false_expr);
                self.expressions(parts, depth)
            }
            Expr::Filter(e) => {
                self.expressions(&e.expr, depth)?;
                self.arguments(&e.args, depth)
            }
            Expr::Test(e) => {
                self.expression(&e.expr, depth)?;
                self.arguments(&e.args, depth)
            }
            Expr::GetAttr(e) => self.expression(&e.expr, depth),
            Expr::GetItem(e) => self.expressions([&e.expr, &e.subscript_expr], depth),
            Expr::Call(e) => {
                self.expression(&e.expr, depth)?;
                self.arguments(&e.args, depth)
            }
            Expr::List(e) => self.expressions(&e.items, depth),
            Expr::Map(e) => self.expressions(e.keys.iter().chain(&e.values), depth),
        }
    }

    fn repeat(&mut self, left: &Expr, right: &Expr) -> Result<(), Error> {
        let (Some(left), Some(right)) = (left.as_const(), right.as_const()) else { return Ok(()) };
        let many = if left.is_number() { &right } else { &left };
        let times = if left.is_number() { &left } else { &right };
        if let Some(size) = many.len() {
            let times = times.as_usize().unwrap_or(0);
            self.repeated = self.repeated.saturating_add(size.saturating_mul(times));
        }
        if self.repeated > MAX_REPEATED {
            return Err(over_limit(format!(
                "the chat template multiplies constants to over {MAX_REPEATED} bytes"
            )));
        }
        Ok(())
    }
}

/// The same program on `operators` and `data`.
fn limited(
    code: &Instructions<'static>,
    text: &'static str,
) -> Result<Instructions<'static>, Error> {
    let mut out = Instructions::new(NAME, text);
    let mut starts = Vec::with_capacity(code.len() + 1); // where each instruction went
    for pc in 0.. {
        starts.push(out.len() as u32);
        let Some(instruction) = code.get(pc) else { break };
        let line = code.get_line(pc).and_then(|line| u16::try_from(line).ok()).unwrap_or(0);
        for instruction in replacement(instruction)? {
            out.add_with_line(instruction, line);
        }
    }
    for pc in 0..out.len() as u32 {
        if let Some(target) = out.get_mut(pc).and_then(target) {
            *target = starts[*target as usize];
        }
    }
    Ok(out)
}

fn replacement(instruction: &Instruction<'static>) -> Result<Vec<Instruction<'static>>, Error> {
    use Instruction as I;
    let call = |name, num_arguments| I::CallFunction(name, Some(num_arguments));
    let call_many = |name, num_arguments: usize| match u16::try_from(num_arguments) {
        Ok(num_arguments) => Ok(call(name, num_arguments)),
        Err(_) => Err(over_limit("a list or map of the chat template has too many items")),
    };
    Ok(match instruction {
        // Whatever is written goes through the formatter.
        I::EmitRaw(text) => vec![I::LoadConst(Value::from(*text)), I::Emit],
        // Named arguments look like a map to others, but not to who is called.
        I::LoadConst(value) if !value.is_kwargs() => {
            vec![I::LoadConst(data::adopt(value.clone())?)]
        }
        I::SetAttr(name) => {
            vec![I::LoadConst(Value::from(*name)), call(op::SET_ATTRIBUTE, 3), I::DiscardTop]
        }
        I::GetItem => vec![call(op::ITEM_OF, 2)],
        I::Slice => vec![call(op::SLICE, 4)],
        I::BuildMap(num_pairs) => vec![call_many(op::MAP, num_pairs * 2)?],
        I::BuildList(Some(num_items)) => vec![call_many(op::LIST, *num_items)?],
        I::Add => vec![call(op::ADD, 2)],
        I::Mul => vec![call(op::MULTIPLY, 2)],
        I::StringConcat => vec![call(op::CONCAT, 2)],
        I::Eq => vec![call(op::EQUAL, 2)],
        I::Ne => vec![call(op::NOT_EQUAL, 2)],
        I::Lt => vec![call(op::LESS, 2)],
        I::Lte => vec![call(op::LESS_EQUAL, 2)],
        I::Gt => vec![call(op::GREATER, 2)],
        I::Gte => vec![call(op::GREATER_EQUAL, 2)],
        I::In => vec![call(op::IN, 2)],
        I::CompareAndPreserve(_) => {
            let price = call(op::PRICED, 1);
            vec![price.clone(), I::Swap, price, I::Swap, instruction.clone()]
        }
        I::BuildMacro(..) => vec![instruction.clone(), call(op::DEFINED, 1)],
        I::CallMethod("changed", _) => {
            return Err(refused(Kind::Invalid, "loop.changed is not supported in a chat template"))
        }
        _ => vec![instruction.clone()],
    })
}

/// The instruction's own, of those that hold the number of another.
fn target<'a>(instruction: &'a mut Instruction<'static>) -> Option<&'a mut u32> {
    match instruction {
        Instruction::Iterate(target)
        | Instruction::Jump(target)
        | Instruction::JumpIfFalse(target)
        | Instruction::JumpIfFalseOrPop(target)
        | Instruction::JumpIfTrueOrPop(target)
        | Instruction::BuildMacro(_, target, _) => Some(target),
        _ => None,
    }
}
